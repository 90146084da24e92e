"""Keys of recipes that have another name now: said to whoever writes an old one, and read in old run folders."""

from __future__ import annotations

from typing import Any

from ofa.config.errors import Problem

# Dotted key before: dotted key now, in the same section.
RENAMED_KEYS = {
    "data.validation": "data.val_fraction",
    "data.test_share": "data.test_fraction",
    "train.later_lr": "train.shrinking_lr_scale",
    "train.distill": "train.distill_weight",
    "train.loss": "train.distill_loss",
    "train.accumulate": "train.grad_accum_steps",
    "train.ranks": "train.subnets_per_rank",
    "train.watch_images": "train.eval_images",
}
# Dotted key now: its values before, and what they are called now.
RENAMED_VALUES = {"train.subnets_per_rank": {"same": "shared", "different": "independent"}}


def renamed_problems(values: dict[str, Any]) -> list[Problem]:
    """The old keys in a recipe's plain ``values``, each with its name of today."""
    problems = []
    for old, new in RENAMED_KEYS.items():
        section, key = old.split(".")
        if isinstance(values.get(section), dict) and key in values[section]:
            values_now = ", ".join(f"{was} is {now}" for was, now in RENAMED_VALUES.get(new, {}).items())
            problems.append((old, f"is called {new} now" + (f" ({values_now})" if values_now else "")))
    return problems


def with_new_names(values: dict[str, Any]) -> dict[str, Any]:
    """A copy of what an older version wrote into a run folder, with the keys and values of today.

    ``values`` are sections of a recipe, as YAML or JSON gives them; what is not of that form is left as it is.
    """
    renamed = {key: dict(section) if isinstance(section, dict) else section for key, section in values.items()}
    for old, new in RENAMED_KEYS.items():
        (section, key), new_key = old.split("."), new.split(".")[1]
        mapping = renamed.get(section)
        if isinstance(mapping, dict) and key in mapping:
            value = mapping.pop(key)
            known = RENAMED_VALUES.get(new, {})
            mapping.setdefault(new_key, known.get(value, value) if isinstance(value, str) else value)
    return renamed
