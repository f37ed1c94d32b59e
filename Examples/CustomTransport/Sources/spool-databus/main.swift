import DatabusCommandLine
import Spool

DatabusCommand.main(registering: [.transport(SpoolTransport.type), .stateBackend(FolderState.type)])
