"""What can be tested of the comparison without measuring anything: seconds, no network, and no other program needed."""
