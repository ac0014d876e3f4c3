"""What lives in the app's processes: counting, telling, working, evaluating when it is due."""
