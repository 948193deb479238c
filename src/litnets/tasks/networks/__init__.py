"""Networks as mixins for any task, in one module per kind of input: rows, images or sequences.

A class `WithX` declares and documents the arguments of network X; everything else is inherited from the task:

    class WithMyNet(Task):
        def __init__(self, input_shape: Sequence[int | None], *, width: int = 64, **task: Any) -> None:
            def build(shape: Shape, out_features: int) -> MyNet:
                return MyNet(flat_size(shape, type(self)), out_features, width)

            super().__init__(NetFactory(input_shape, build), **task)

    class MyNetClassifier(WithMyNet, Classifier):
        \"""Classify with my network.\"""
"""
