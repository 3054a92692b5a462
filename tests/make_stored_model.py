"""Write the stored models that `test_persistence.py` reads, once for each format of the files.

    python tests/make_stored_model.py

Run it when `FORMAT` in `jedi_sklearn/_persistence.py` has been raised, and commit the new files;
those of earlier formats stay, so that what an earlier version saved is still read.
"""

from pathlib import Path

import numpy as np

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._persistence import FORMAT
from jedi_sklearn.datasets import make_multitask

FOLDER = Path(__file__).parent / "data"


def main():
    store(f"format_{FORMAT}", "inferred")
    store(f"format_{FORMAT}_generated", "generated")


def store(name, initial_state):
    """A fitted model and its answers, with inputs, gaps and conditions."""
    data = make_multitask(24, n_neurons=12, n_timesteps=25, dt=0.02, random_state=0)
    est = JEDIEstimator(
        3,
        4,
        hypernetwork="mlp",
        hidden_layer_sizes=(4,),
        initial_state=initial_state,
        scale="neuron",
        dt=0.02,
        max_iter=60,
        tol=1.0,
        device="cpu",
        random_state=0,
    )
    X = data.X.astype(np.float32)
    X[::3, 20:, 0] = np.nan
    inputs = np.random.RandomState(0).standard_normal((24, 25, 2)).astype(np.float32)
    est.fit(X[:18], data.task[:18], inputs=inputs[:18])
    est.save(FOLDER / f"model_{name}.npz")
    X, inputs = X[18:], inputs[18:]
    posterior = est.posterior(X, inputs=inputs)
    np.savez(
        FOLDER / f"answers_{name}.npz",
        X=X,
        inputs=inputs,
        transform=posterior.mean,
        covariance=posterior.covariance,
        predict=est.predict(X, inputs=inputs),
        score=est.score(X, inputs=inputs),
        embedding=est.embedding_,
        eigenvalues=est.dynamics(X, inputs=inputs).eigenvalues(),
        conditions=est.conditions_,
        condition_embeddings=est.condition_embeddings_,
    )


if __name__ == "__main__":
    main()
