"""How fast the package is: beside textbook versions of each stage, beside other packages, and over sizes."""
