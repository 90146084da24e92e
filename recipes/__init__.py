"""The shipped recipes: YAML files that ``ofa run NAME`` finds from any folder."""
