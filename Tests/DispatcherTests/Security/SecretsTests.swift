import Dispatcher
import Testing

struct SecretsTests {
  private func isPermitted(_ prefix: String, _ url: String) -> Bool {
    let secrets = Secrets(["s": .init(values: ["value"], urls: [prefix])])
    if case .success = secrets.secret("s", for: url) { return true }
    return false
  }

  @Test(arguments: [
    ("https://a.example", "https://a.example/"), ("https://a.example/", "https://a.example/"),
    ("https://a.example", "https://a.example"), ("https://a.example", "https://a.example/hooks/1?x=1"),
    ("https://A.Example/", "https://a.example/x"), ("HTTPS://a.example", "https://a.example/x"),
    ("https://a.example.", "https://a.example/x"), ("https://a.example:443", "https://a.example/x"),
    ("https://a.example", "https://a.example:443/x"), ("http://a.example:80", "http://a.example/x"),
    ("https://a.example:8443", "https://a.example:8443/x"), ("https://a.example/hooks", "https://a.example/hooks"),
    ("https://a.example/hooks", "https://a.example/hooks/"), ("https://a.example/hooks/", "https://a.example/hooks"),
    ("https://a.example/hooks", "https://a.example/hooks?team=a"),
    ("https://a.example/hooks", "https://a.example/hooks/a/b"),
    ("https://a.example", "https://a.example/../x"), ("http://[::1]:8080", "http://[::1]:8080/x"),
  ])
  func aSecretMayBeSentBelowItsURL(_ prefix: String, _ url: String) {
    #expect(isPermitted(prefix, url))
  }

  @Test(arguments: [
    ("https://a.example", "https://a.example.evil.com/"), ("https://a.example", "https://a.example:444/"),
    ("https://a.example", "http://a.example/"), ("https://a.example", "https://b.a.example/"),
    ("https://a.example", "https://evil.com/https://a.example/"),
    ("https://a.example", "https://evil.com?https://a.example"),
    ("https://a.example", "https://evil.com#https://a.example"), ("https://a.example", "https://a.example@evil.com/"),
    ("https://a.example", "https://a.example%2eevil.com/"), ("https://a.example", "https://a.example\\@evil.com/"),
    ("https://a.example/hooks", "https://a.example/hooks-of-others"),
    ("https://a.example/hooks", "https://a.example/hook"),
    ("https://a.example/hooks", "https://a.example/"), ("https://a.example/hooks", "https://a.example/Hooks"),
    ("https://a.example/hooks", "https://a.example?/hooks"), ("https://a.example/hooks", "https://a.example//hooks"),
    ("https://a.example/hooks", "https://a.example/hooks/../others"),
    ("https://a.example/hooks", "https://a.example/hooks/.."),
    ("https://a.example/hooks", "https://a.example/hooks/%2e%2E/others"),
    ("https://a.example/hooks", "https://a.example/hooks/..%2Fothers"),
    ("https://a.example/hooks", "https://a.example/hooks/x%5c..%5cothers"),
    ("https://a.example/hooks", "https://a.example/hooks/./x"), ("https://a.example", "not a URL"),
    ("https://a.example", ""),
  ])
  func aSecretMayNotBeSentElsewhere(_ prefix: String, _ url: String) {
    #expect(!isPermitted(prefix, url))
  }

  @Test(arguments: [
    ("a.example", "absolute"), ("https://", "host"), ("https://u:p@a.example/", "user information"),
    ("https://a.example/?x", "query"), ("https://a.example/#x", "fragment"), ("https://*.example/", "*"),
    ("https://a.example/x/../y", ".."), ("https://bücher.example/", "xn--"), ("https://a.example/ä", "escaped"),
    ("", "absolute"),
  ])
  func aURLThatCannotSayWhereIsComplainedAboutAndPermitsNothing(_ url: String, _ word: String) throws {
    let problem = try #require(Secrets.problem(withURL: url))
    #expect(problem.contains(word))
    #expect(!isPermitted(url, url))
    #expect(!isPermitted(url, "https://a.example/x/../y"))
  }

  @Test func goodURLsAreNotComplainedAbout() {
    for url in ["https://a.example", "https://a.example/hooks/", "http://127.0.0.1:8080", "http://[::1]/x"] {
      #expect(Secrets.problem(withURL: url) == nil)
    }
  }

  @Test func anyOfItsURLsWillDoAndNoneIsNowhere() {
    let secrets = Secrets([
      "two": .init(values: ["v"], urls: ["https://a.example", "https://b.example"]),
      "none": .init(values: ["v"], urls: []),
    ])
    guard case .success(let secret) = secrets.secret("two", for: "https://b.example/x") else {
      Issue.record("refused")
      return
    }
    #expect(secret.values == ["v"])
    #expect(throws: DeliveryRefusal.self) { try secrets.secret("none", for: "https://a.example/").get() }
    #expect(secrets.names == ["two", "none"])
  }

  @Test func refusalsNameTheSecretAndNeverItsValue() {
    let secrets = Secrets([
      "token": .init(values: ["hunter2"], urls: ["https://a.example"])
    ])
    func refusal(_ name: String, _ url: String) -> DeliveryRefusal? {
      if case .failure(let refusal) = secrets.secret(name, for: url) { return refusal }
      return nil
    }
    for refusal in [
      refusal("other", "https://a.example/"), refusal("token", "https://b.example/"),
    ] {
      #expect(refusal?.reason == .authentication)
      #expect(refusal?.detail.contains("dispatcher.secrets") == true)
      #expect(refusal?.detail.contains("hunter2") == false)
    }
    #expect(refusal("token", "https://b.example/")?.detail.contains("\"token\"") == true)
  }

  @Test func printingSecretsShowsNoValue() {
    let secret = Secrets.Secret(values: ["hunter2"], urls: ["https://a.example"])
    var dumped = ""
    dump(secret, to: &dumped)
    dump(Secrets(["token": secret]), to: &dumped)
    for text in ["\(secret)", String(reflecting: secret), "\(Secrets(["token": secret]))", dumped] {
      #expect(!text.contains("hunter2"))
      #expect(text.contains("https://a.example"))
    }
  }
}
