"""Splits the ranks into two groups with one rank each that teaches; rank 0 prints all views."""

import json

from hvcod.groups.split import split
from hvcod.groups.world import world

group = split(world(), groups=2, teacher_ranks=1)
seen = {
    "group": group.index,
    "role": group.role,
    "rank": group.rank,
    "size": group.size,
    "trainers": group.trainers,
    "teacher_ranks": group.teacher_ranks,
    "shards": group.shards,
    "root": group.is_root,
    "polls": group.polls,
    "together": group.comm.size,
    "seat": [group.seat(trainer).shard for trainer in range(group.trainers)],
}
everyones = world().gather(seen)
if everyones:
    print(json.dumps(everyones))
