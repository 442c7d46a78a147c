"""Events as function calls: an answer is a return value, a failure an exception."""
