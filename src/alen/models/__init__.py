"""Networks: the paper's attention network, the See-in-the-Dark baseline, and their blocks. Needs torch."""
