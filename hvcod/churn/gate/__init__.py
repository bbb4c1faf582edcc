"""The gate of a retrain: may it replace the model in production?"""
