"""Tour: the bundled result, step by step, for a class. It changes nothing of what the session has chosen."""

from hfcviz.tour import TOUR
from hfcviz.ui import tour_views

tour_views.show(TOUR[tour_views.steering() - 1])
