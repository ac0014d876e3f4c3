"""A report of simulations: one HTML file, without outside requests, and the plot alone."""

from celery_middle_management.sim.report.page import plot_svg, report_html

__all__ = ["plot_svg", "report_html"]
