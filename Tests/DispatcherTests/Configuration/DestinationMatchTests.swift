import Dispatcher
import Testing

struct DestinationMatchTests {
  private func match(_ text: String) throws -> DestinationMatch { try DestinationMatch.parse(text).get() }

  @Test func anExactURLMatchesItself() throws {
    let match = try match("HTTPS://A.example/Hook?x=1")
    #expect(match.description == "https://a.example/Hook?x=1")
    #expect(match.matches("https://a.example/Hook?x=1"))
    #expect(!match.matches("https://a.example/hook?x=1"))
    #expect(!match.matches("https://a.example/Hook"))
    #expect(!match.matches("https://a.example/Hook?x=12"))
  }

  @Test func aHostAloneHasAPathAsTargetsDo() throws {
    #expect(try match("https://A.example").matches("https://a.example/"))
    #expect(try match("https://A.example?x=Y").description == "https://a.example/?x=Y")
  }

  @Test func aBeginningMatchesWhatBeginsWithIt() throws {
    let match = try match("https://a.example/ho*")
    for url in ["https://a.example/ho", "https://a.example/hook", "https://a.example/ho/x?y"] {
      #expect(match.matches(url))
    }
    for url in ["https://a.example/h", "http://a.example/hook", "https://a.example.evil/hook"] {
      #expect(!match.matches(url))
    }
  }

  @Test func bytesAreCompared() throws {
    // A combining mark makes another character of the slash, for Swift and for nobody else.
    #expect(try match("https://a.example/*").matches("https://a.example/\u{301}x"))
  }

  @Test func aSchemeMatchesAllOfIt() throws {
    #expect(try match("https://*").matches("https://anything.example/x"))
    #expect(try !match("https://*").matches("http://anything.example/x"))
  }

  @Test(
    "no destinations",
    arguments: [
      ("", "is not an absolute URL"), ("*", "is not an absolute URL"), ("https:/a", "is not an absolute URL"),
      ("https://a*", "has its \"*\" right behind the host, so that it matches hosts of others too"),
      ("https://a.example:44*", "has its \"*\" right behind the host, so that it matches hosts of others too"),
      ("https://*.example/", "has a \"*\" that is not at its end"), ("://*", "has no valid scheme"),
      ("https://u:p@a.example/*", "contains user information; put credentials into \"delivery\""),
      ("https://a.example/#x", "has a fragment"), ("https://a.example/b/../c/*", "has a \".\" or \"..\" in its path"),
    ])
  func refused(_ text: String, _ reason: String) {
    let problem = #expect(throws: DestinationMatch.Problem.self) { try match(text) }
    #expect(problem?.reason == reason)
  }
}
