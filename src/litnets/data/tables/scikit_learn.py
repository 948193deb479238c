"""The tables included in scikit-learn: Iris, Wine, BreastCancer and Diabetes."""

from typing import Any

import torch

from litnets.data.tables.base import TableDataModule
from litnets.data.tables.table import Table


class _ScikitLearnTable(TableDataModule):
    """A table included in scikit-learn."""

    def _load_bunch(self) -> Any:
        raise NotImplementedError

    def read(self) -> Table:
        bunch = self._load_bunch()
        inputs = torch.from_numpy(bunch.data).float()
        columns = [str(name) for name in bunch.feature_names]
        if "target_names" not in bunch:
            return Table(inputs, columns, [], torch.from_numpy(bunch.target).float().unsqueeze(1), None, ["target"])
        names = [str(name) for name in bunch.target_names]
        return Table(inputs, columns, [], torch.from_numpy(bunch.target).to(torch.uint8), names)


class Iris(_ScikitLearnTable):
    """150 iris flowers of 3 species, with 4 lengths in cm (Fisher 1936).

    Two rows differ from the UCI repository and agree with R; see `sklearn.datasets.load_iris`.

        litnets fit --config configs/iris_mlp.yaml
    """

    def _load_bunch(self) -> Any:
        from sklearn.datasets import load_iris  # imported on use, here and below, because it is slow

        return load_iris()


class Wine(_ScikitLearnTable):
    """178 wines of 3 growers, with 13 measurements (Forina et al. 1988, UCI).

    litnets fit --config configs/wine_mlp.yaml
    """

    def _load_bunch(self) -> Any:
        from sklearn.datasets import load_wine

        return load_wine()


class BreastCancer(_ScikitLearnTable):
    """569 tumors, malignant or benign, with 30 measurements of their cell nuclei.

    Breast Cancer Wisconsin (Diagnostic) of the UCI repository (Wolberg et al. 1995).

        litnets fit --config configs/breast_cancer_mlp.yaml
    """

    def _load_bunch(self) -> Any:
        from sklearn.datasets import load_breast_cancer

        return load_breast_cancer()


class Diabetes(_ScikitLearnTable):
    """442 patients, with 10 measurements; the target is the disease progression after one year, 25 to 346.

    From Efron et al. 2004, Least Angle Regression.

        litnets fit --config configs/diabetes_mlp.yaml
    """

    def _load_bunch(self) -> Any:
        from sklearn.datasets import load_diabetes

        # Unscaled, because scikit-learn would scale by the statistics of all 442 rows.
        return load_diabetes(scaled=False)
