"""What people look at: figures, cards of items, and the pages of a report and of a comparison.

`report_page` and `compare_page` make whole pages, `cards` says how an item looks, `examples` which queries are worth looking at, `curve` and
`histogram` draw. Templates, style and script are in templates/.
"""
