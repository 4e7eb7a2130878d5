"""How anything is trained: optimizers, schedules, precision, saved states; knows no objective and no task."""
