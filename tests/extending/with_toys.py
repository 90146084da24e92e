"""The command ``ofa`` with the toys of this folder: an entry in a table each, and nothing else."""

from toy_cost import energy
from toy_predictor import Line
from toy_strategy import ClimbSettings, climb

from ofa.export.runtimes import RUNTIMES, RuntimeSpec
from ofa.predictors.accuracy.kinds import KINDS, PredictorKind
from ofa.predictors.costs.names import COSTS, Cost, LimitKey, Shown
from ofa.strategies.table import STRATEGIES, Strategy

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
KINDS["line"] = PredictorKind(help="a line", load=lambda: Line)

if __name__ == "__main__":
    from ofa.cli import main  # the recipe's types are made of the tables when it is imported

    main()
