import Dispatcher
import HTTPClient
