import DatabusCore
import Dispatcher
import RedisClient
