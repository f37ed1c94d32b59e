import DatabusCore

/// Dead letters of deliveries: the original record, and as headers why it was given up.
enum DispatchLetter {
  /// A record that is refused as it is keeps this much of its value.
  private static let cutBytes = 64 << 10
  private static let detailBytes = 2 << 10

  static let prefix = "dx-"

  static func make(
    _ job: DeliveryJob, _ reason: DispatchReason, _ detail: String, at wall: Int64
  ) -> StreamWriter.Outgoing {
    var headers = job.record.headers.filter { !$0.name.hasPrefix(prefix) }
    var value = job.record.value
    if job.isCut {
      headers = []
      value = value.map { Array($0.prefix(cutBytes)) }
    }
    func add(_ name: String, _ text: String?) {
      if let text { headers.append(Header(name: prefix + name, value: Array(text.utf8))) }
    }
    add("id", job.webhookID.isEmpty ? nil : job.webhookID)
    add("reason", reason.rawValue)
    add("detail", String(decoding: detail.utf8.prefix(detailBytes), as: UTF8.self))
    add("status", job.lastOutcome?.status.map { String($0) })
    add("attempts", String(job.attempts))
    add("first-at", String(job.firstAt))
    add("last-at", String(wall))
    add("dest", job.destinationURL.isEmpty ? nil : DispatchText.redacted(job.destinationURL))
    let (topic, partition, offset) = origin(job)
    add("topic", topic)
    add("partition", partition)
    add("offset", offset)
    add("rule", job.rule)
    add("replays", String(job.carried.replays))
    if job.isCut { add("length", job.record.value.map { String($0.count) }) }
    if let response = job.lastOutcome?.response, !response.isEmpty {
      headers.append(Header(name: prefix + "response", value: Array(response.prefix(1024))))
    }
    return .init(
      number: job.number, key: job.record.key, value: value, headers: headers, timestamp: wall)
  }

  /// Where the original record stands, in the results stream.
  private static func origin(_ job: DeliveryJob) -> (String, String, String) {
    if let parts = job.carried.origin?.split(separator: "/"), parts.count >= 3 {
      return (parts.dropLast(2).joined(separator: "/"), String(parts[parts.count - 2]), String(parts[parts.count - 1]))
    }
    return (job.record.partition.stream, String(job.record.partition.index), String(job.record.position))
  }
}
