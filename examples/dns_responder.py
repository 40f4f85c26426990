"""DNS by `trio_udp.serve` with a profile of our own. Answers end after 512 bytes: a forged source is not worth much."""

from functools import partial

import trio

try:
    from dns import asyncquery, exception, flags, message, rdataclass, rdatatype, rrset
except ImportError:
    raise SystemExit("expected the package dnspython to be installed, and it is not: pip install dnspython") from None

import trio_udp
from trio_udp.proto import AnswerKind, Book, DropReason, Question

HOST = "127.0.0.1"
RECORDS = {rdatatype.A: ["192.0.2.7"], rdatatype.TXT: [f'"text {number} of 60"' for number in range(1, 61)]}


class DNS(Book):
    """The answering side; a payload is a whole message. The asking side stays the book's, and nobody uses it."""

    def decode_question_untrusted(self, data: bytes) -> Question | DropReason:
        """Any message that is not an answer."""
        is_question = len(data) >= 12 and not data[2] & 0x80
        return Question(data[:2], data, 0, len(data)) if is_question else DropReason.MALFORMED

    def encode_answer(self, question: Question, kind: AnswerKind, payload: bytes) -> bytes:
        """The message; or the question again, with TC for what is too long and SERVFAIL for what went wrong."""
        bits = (0x82, 0) if kind is AnswerKind.RETRY else (0x80, 2)
        again = question.key + bytes([question.payload[2] | bits[0], bits[1]]) + question.payload[4:]
        return payload if kind is AnswerKind.REPLY else again

    def reply_budget(self, question: Question) -> int:
        """The longest answer."""
        return max(512, question.size)


def answer(request: trio_udp.Request) -> bytes | None:
    """The same records for every name; silence for what cannot be read."""
    try:
        response = message.make_response(message.from_wire(request.payload))
    except exception.DNSException:
        return None
    asked = [each for each in response.question if each.rdtype in RECORDS and each.rdclass == rdataclass.IN]
    response.answer += [rrset.from_text_list(e.name, 60, e.rdclass, e.rdtype, RECORDS[e.rdtype]) for e in asked]
    return response.to_wire()


async def main() -> None:
    """Serve, and ask for a short answer and a long one."""
    async with trio.open_nursery() as nursery:
        server: trio_udp.Server = await nursery.start(partial(trio_udp.serve, answer, 0, host=HOST, profile=DNS()))
        for type_ in RECORDS:
            response = await asyncquery.udp(message.make_query("a.example", type_), HOST, port=server.address.port)
            print("truncated" if response.flags & flags.TC else response.answer[0])
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
