"""What people look at: tables, charts, the page of a run, findings of data, and pictures.

Pictures are arrays from arrays: nothing that draws them reads or writes files. Nothing is imported here, because tables
of findings do without matplotlib.
"""
