import DatabusCore
import Dispatcher
import SQLiteClient
