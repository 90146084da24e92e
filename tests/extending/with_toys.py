"""The command ``ofa`` with the toys of this folder: a folder on a path, an entry in a table each, and nothing else."""

from pathlib import Path

from toy_cost import energy
from toy_predictor import Line
from toy_sampling import ends, ends_alone
from toy_strategy import ClimbSettings, climb

from ofa.export.runtimes import RUNTIMES, RuntimeSpec
from ofa.predictors.accuracy.kinds import KINDS, PredictorKind
from ofa.predictors.costs.names import COSTS, Cost, LimitKey, Shown
from ofa.strategies.table import STRATEGIES, Strategy
from ofa.supernet import families
from ofa.supernet.training.phases import SCHEDULES
from ofa.supernet.training.sampling import SAMPLERS, Sampling

families.__path__.append(str(Path(__file__).parent / "toy_family"))
RUNTIMES["toy"] = RuntimeSpec(
    module="toy_runtime",
    name="Toy",
    about="a test",
    format="timm",
    precisions=("float32",),
    measures=("latency",),
    distribution="torch",
)
COSTS["energy"] = Cost(
    about="Energy of one image.",
    unit="nJ",
    limits=(LimitKey("energy_uj", unit=1000.0),),
    count=energy,
    shown=Shown(unit="uJ", size=1000.0, decimals=2),
)
STRATEGIES["climb"] = Strategy(run=climb, settings=ClimbSettings, help="mutants of the best network")
SAMPLERS["ends"] = Sampling(ends, min_subnets=2, largest_first=True)
SCHEDULES["ends_alone"] = ends_alone
KINDS["line"] = PredictorKind(help="a line", load=lambda: Line)

if __name__ == "__main__":
    from ofa.cli import main  # the recipe's types are made of the tables when it is imported

    main()
