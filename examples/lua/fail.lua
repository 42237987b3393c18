error("nothing to do")
