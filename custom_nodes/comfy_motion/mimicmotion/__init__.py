"""MimicMotion: a dance moved onto a person. "Fact n" is a numbered rule of MimicMotion's published pipeline."""
