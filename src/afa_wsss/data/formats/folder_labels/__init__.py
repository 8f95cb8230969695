"""People's own photos, with labels as annotation tools, spreadsheets and folders hold them."""
