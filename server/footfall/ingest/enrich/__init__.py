"""What the way in adds to web events: browser, place, source, page and visitor."""
