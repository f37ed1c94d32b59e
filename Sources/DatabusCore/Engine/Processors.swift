import CSystem

/// The machine's processors as far as they are ours.
public enum Processors {
  /// How many this process may run on, at least 1: fewer than the machine has where an operator says so (`taskset`, a
  /// container's cpuset).
  public static var available: Int { Int(databus_available_processors()) }
}
