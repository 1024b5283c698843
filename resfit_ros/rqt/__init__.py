"""The rqt plugin; Qt is imported by the modules in here alone, when rqt loads them."""
