# %% [markdown]
# # Train, compare and use networks from Python
#
# Open this file as a notebook (VS Code, PyCharm or Jupytext), or run it: `python examples/python_api.py`. It needs no
# data set and takes a few seconds.

# %%
import numpy as np

import litnets

# %% [markdown]
# ## Train
#
# Pass the class of the model and the data. Keyword arguments go to the model or the Trainer, by name. What the model
# needs to know about the data, such as the number of classes, is filled in.

# %%
data = litnets.Digits(batch_size=64)
run = litnets.fit(litnets.MLPClassifier, data, hidden_layer_sizes=[64], lr=0.003, max_epochs=3)
print(run.folder, run.results["test"]["accuracy"])

# %% [markdown]
# The run folder is that of the command line: its config.yaml repeats the run, and `litnets resume` continues it.

# %%
run.resume(max_epochs=5)
print(run.results["epochs"], run.test()["accuracy"])

# %% [markdown]
# ## Compare
#
# Calls in a loop do not influence each other, and leave the random numbers of this program alone.

# %%
runs = {lr: litnets.fit(litnets.MLPClassifier, data, lr=lr, max_epochs=2) for lr in (0.001, 0.01)}
best_lr = min(runs, key=lambda lr: runs[lr].results["best"]["score"])  # the lowest validation loss
print(f"best learning rate: {best_lr}")

# %% [markdown]
# ## Use
#
# The network takes raw inputs: here pixels from 0 to 16, as in training. Files and PIL images work as well.

# %%
net = litnets.load(runs[best_lr])
images, labels = data.splits["test"][:]
predictions = net.predict(images)
accuracy = np.mean(predictions == np.array(net.classes)[labels])
print(net.predict(images[0]), net.predict_proba(images[0]).max(), accuracy)
assert abs(accuracy - runs[best_lr].results["test"]["accuracy"]) < 1e-6

# %% [markdown]
# `prepare` and `network` are plain modules, for code that works on tensors.

# %%
print(net.prepare(images[:2]).mean().item(), net.network(net.prepare(images[:2])).shape)
