"""Language modelling on Common Crawl (paper, section 3.1): data, stream and model."""
