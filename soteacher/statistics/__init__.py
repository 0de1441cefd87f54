"""Statistics of the measures of runs: pure functions of numbers, which draw and read nothing."""
