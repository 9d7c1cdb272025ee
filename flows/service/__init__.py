"""The service on Prefect: flows, what their runs show, deployments, automations, processes."""
