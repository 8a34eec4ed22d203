"""Mutation testing: small wrong changes are planted one at a time, and the tests have to fail. Run
it by ``make mutants``."""
