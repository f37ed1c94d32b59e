import DatabusCommandLine
import Drop
import Spool

DatabusCommand.main(registering: [
  .transport(SpoolTransport.type), .stateBackend(FolderState.type), .deliveryChannel(DropChannel.type),
])
