"""From the files of a competition to a submission."""

from tabdl.kaggle.competition import Competition as Competition
from tabdl.kaggle.errors import CompetitionError as CompetitionError
