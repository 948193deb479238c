"""The tables that come with scikit-learn: Iris, Wine, BreastCancer, Diabetes."""

from typing import Any

import torch

from litnets.data.tables.base import TableDataModule
from litnets.data.tables.table import Table


class _FromScikitLearn(TableDataModule):
    """A table that comes inside scikit-learn."""

    def _bunch(self) -> Any:
        raise NotImplementedError

    def read(self) -> Table:
        bunch = self._bunch()
        inputs = torch.from_numpy(bunch.data).float()
        columns = [str(name) for name in bunch.feature_names]
        if "target_names" not in bunch:
            return Table(inputs, columns, [], torch.from_numpy(bunch.target).float().unsqueeze(1), None, ["target"])
        names = [str(name) for name in bunch.target_names]
        return Table(inputs, columns, [], torch.from_numpy(bunch.target).to(torch.uint8), names)


class Iris(_FromScikitLearn):
    """150 flowers of 3 species by 4 lengths in cm (Fisher 1936), with two rows as in R and not as in the UCI repository
    (see `sklearn.datasets.load_iris`)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_iris  # here, as below, so that only those who use it pay for the import

        return load_iris()


class Wine(_FromScikitLearn):
    """178 wines of 3 growers by 13 measurements (Forina et al. 1988, UCI)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_wine

        return load_wine()


class BreastCancer(_FromScikitLearn):
    """569 tumours, malignant or benign, by 30 measurements of the nuclei of their cells (Wolberg et al. 1995, UCI
    Breast Cancer Wisconsin, Diagnostic)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_breast_cancer

        return load_breast_cancer()


class Diabetes(_FromScikitLearn):
    """442 patients by 10 measurements; the target is how far the disease has gone after a year, 25 to 346 (Efron et al.
    2004, Least Angle Regression)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_diabetes

        # Unscaled: scikit-learn's own scaling is that of all 442 rows.
        return load_diabetes(scaled=False)
