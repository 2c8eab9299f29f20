"""The paper's claims as experiments: one module a study, all of them working with a `Lab` and giving `Findings`."""
