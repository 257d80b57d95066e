"""Records and figures for people: the page, the terminal, markdown, files. Human units and words live only here."""
