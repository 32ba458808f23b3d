"""The windows: folds over journal entries that answer questions. They read only and decide nothing."""
