/// Why a delivery is given up. The raw values stand in the dead letters (`dx-reason`) and in metrics.
public enum DispatchReason: String, Sendable, Hashable, CaseIterable {
  /// All attempts were made.
  case exhausted
  /// It is too old.
  case expired
  /// The receiver refused it: a status of 400 to 499 that says nothing of trying again.
  case refused = "http_4xx"
  /// 410: the receiver is gone for good.
  case gone
  /// Its rule was deleted or disabled, or its deliveries were cancelled.
  case ruleGone = "rule_gone"
  /// Its destination is disabled.
  case disabled
  /// Its destination leads to an address that nothing may be sent to.
  case addressDenied = "ssrf_denied"
  case tooLarge = "too_large"
  case badURL = "bad_url"
  /// Its secret is not there, may not be sent to this destination, or was not accepted.
  case authentication = "auth"
  /// Sent at most once: whether an earlier attempt arrived is not known.
  case ambiguous
  /// The record is no result.
  case poison
}
