"""What people see while work goes on: progress bars and tables."""
