"""MLflow: the database, runs opened and closed by the driver, rows written while a run trains."""
