"""People who talk: voices, who speaks, and the video that is made window after window (MultiTalk)."""
