"""The certificate of a published lab: who issues it, where it lies, who trusts it."""
