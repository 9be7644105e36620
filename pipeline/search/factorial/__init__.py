"""The factorial design: factors crossed in one skeleton, controls and contrasts."""
