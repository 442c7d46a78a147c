"""What type checkers say of programs that use the library: ``right`` ones, and ``wrong`` ones."""
