"""What a fitted estimator looks at, and what it costs."""

from tabdl.inspection.displays import (
    EnsembleDisplay as EnsembleDisplay,
    HistoryDisplay as HistoryDisplay,
    ImportanceDisplay as ImportanceDisplay,
)
from tabdl.inspection.importances import (
    Importances as Importances,
    attention_importances as attention_importances,
    gradient_importances as gradient_importances,
    importances as importances,
)
from tabdl.inspection.memory import estimate_memory as estimate_memory
from tabdl.inspection.selection import (
    ImportanceGetter as ImportanceGetter,
    WithImportances as WithImportances,
)
from tabdl.inspection.summary import summary as summary
