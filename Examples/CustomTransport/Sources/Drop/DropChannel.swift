import DatabusCore
import Dispatcher
import Foundation
import Synchronization

/// Delivers by writing each payload into a file of its own: `drop://orders` is the folder `orders` below the channel's, and the file has
/// the delivery's id as its name. A delivery that is made again writes the same file, so it is there once.
///
/// Whoever fetches the files makes the folder; until it is there deliveries are tried again. A file appears whole or not at all.
public final class DropChannel: DeliveryChannel {
  /// What the JSON file knows it by: `"channels": {"drop": {"path": "inboxes"}}`.
  public static let type = DeliveryChannelType(
    "drop", schemes: ["drop"],
    settings: ObjectDeclaration(
      "Files in folders, one for each delivery.",
      [
        FieldDeclaration(
          "path", .path, required: true, example: "inboxes", "The folder that has a folder for each destination.")
      ])
  ) { settings, _ in DropChannel(path: settings.string("path")) }

  private let path: String
  // Files may block, which Swift's pool must not. One after the other: `close` waits for all that came before.
  private let queue = DispatchQueue(label: "drop")
  private let isClosed = Mutex(false)
  private let clock = SystemClock()

  public init(path: String) { self.path = path }

  public func target(of destination: String) -> Result<DeliveryTarget, DeliveryRefusal> {
    switch DestinationURL.parse(destination) {
    case .failure(let problem): return .failure(DeliveryRefusal(.badURL, "the destination \(problem.reason)"))
    case .success(let url):
      let name = url.host.lowercased()
      let url = "drop://\(name)/"
      guard destination.lowercased() == url || destination.lowercased() + "/" == url else {
        return .failure(DeliveryRefusal(.badURL, "the destination is not of the form drop://NAME"))
      }
      guard name.utf8.allSatisfy({ (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D }) else {
        return .failure(DeliveryRefusal(.badURL, "the name of a drop has letters, digits and \"-\" only"))
      }
      return .success(DeliveryTarget(url: url, server: url, label: "drop://\(name)"))
    }
  }

  public func start(_ attempts: [DeliveryAttempt], _ port: any AttemptPort) {
    let began = clock.now()
    queue.async { port.end(attempts.map { self.make($0, began) }) }
  }

  public func close() async {
    isClosed.withLock { $0 = true }
    await withCheckedContinuation { continuation in queue.async { continuation.resume() } }
  }

  /// Only a disk that hangs keeps an attempt beyond its deadline: then all of this channel's wait with it.
  private func make(_ attempt: DeliveryAttempt, _ began: Instant) -> AttemptOutcome {
    func outcome(_ verdict: AttemptOutcome.Verdict, _ detail: String) -> AttemptOutcome {
      AttemptOutcome(number: attempt.number, verdict, detail: detail, duration: clock.now() - began)
    }
    if isClosed.withLock({ $0 }) { return outcome(.retry(isFault: false, after: nil), "the channel is closed") }
    if clock.now() - began >= attempt.timeout { return outcome(.retry(isFault: true, after: nil), "no time was left") }
    let folder = path + "/" + attempt.target.url.dropFirst("drop://".count)
    let hidden = folder + ".\(UUID().uuidString)"
    do {
      try Data(attempt.value[attempt.payload]).write(to: URL(fileURLWithPath: hidden))
      // Over what an earlier attempt has left, in one step.
      guard rename(hidden, folder + DropChannel.fileName(attempt.id)) == 0 else {
        let reason = String(cString: strerror(errno))
        unlink(hidden)
        return outcome(.retry(isFault: true, after: nil), "the file cannot be put into \(folder): \(reason)")
      }
      return outcome(.delivered, "written")
    } catch {
      unlink(hidden)
      return outcome(
        .retry(isFault: true, after: nil), "nothing can be written to \(folder): \(error.localizedDescription)")
    }
  }

  /// An id that the router makes is its own file's name; what another program chose may have any characters.
  private static func fileName(_ id: String) -> String { DeliveryID(named: id).description }
}
