import DatabusCommandLine

DatabusCommand.main()
