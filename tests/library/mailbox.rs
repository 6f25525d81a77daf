//! Mailboxes: bounded, in order, from any number of threads, and fair to other work.

use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, TryRecvError, TrySendError, channel};
use std::thread;
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnId, Context, MailReceiver, MailSender, More, Reactor, Service};

use crate::puppet::{Puppet, Report};
use crate::support::{Client, DEADLINE, Server, TEXT, Watched, eventually, serving};

/// Reads its mail, and forwards it to the test.
struct Reader {
    capacity: usize,
    lend: Sender<MailSender<(u32, u32)>>,
    sender: Sender<(u32, u32)>,
    mail: Option<MailReceiver<(u32, u32)>>,
    /// Whether it always reports more mail.
    insatiable: bool,
}

impl Service for Reader {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let (sender, receiver) = cx.mailbox(self.capacity);
        self.mail = Some(receiver);
        self.lend.send(sender).unwrap();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_mail(&mut self, _: &mut Context<'_>) -> More {
        let mail = self.mail.as_ref().and_then(|mail| mail.try_recv().ok());
        if let Some(mail) = mail {
            let _ = self.sender.send(mail);
        }
        if mail.is_some() || self.insatiable { More::Yes } else { More::No }
    }
}

#[test]
fn a_full_mailbox_returns_the_mail() {
    let (puppet, strings) = Puppet::new();
    let _server = puppet.serve_plain();
    let (sender, receiver) = strings.run(|cx| cx.mailbox::<u32>(2));
    sender.try_send(1).unwrap();
    sender.clone().try_send(2).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(receiver.try_recv(), Ok(1));
    sender.try_send(4).unwrap();
    assert_eq!([receiver.try_recv(), receiver.try_recv()], [Ok(2), Ok(4)]);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));

    // A mailbox with a capacity of zero holds one.
    let (single, one) = strings.run(|cx| cx.mailbox::<u32>(0));
    single.try_send(1).unwrap();
    assert_eq!(single.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(one.try_recv(), Ok(1));

    drop((receiver, one));
    assert_eq!(sender.try_send(5), Err(TrySendError::Disconnected(5)));
    assert_eq!(single.send(6).unwrap_err().0, 6);
}

#[test]
fn a_sender_may_block_until_there_is_room() {
    let (puppet, strings) = Puppet::new();
    let _server = puppet.serve_plain();
    let (sender, receiver) = strings.run(|cx| cx.mailbox::<u32>(1));
    let thread = thread::spawn(move || (0..100).for_each(|mail| sender.send(mail).unwrap()));
    let mut got = Vec::new();
    eventually(
        || {
            got.extend(receiver.try_recv());
            got.len() == 100
        },
        "all mail comes",
    );
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    thread.join().unwrap();
}

#[test]
fn mail_of_many_senders_arrives_in_the_order_of_each() {
    const SENDERS: u32 = 8;
    const MAILS: u32 = 2_000;
    let (lend, lent) = channel();
    let (sender, receiver) = channel();
    let _server = Server::start(Settings::default(), move |reactor| {
        let reader = Reader { capacity: 16, lend, sender, mail: None, insatiable: false };
        reactor.add_service(reader).unwrap();
    });
    let mailbox = lent.recv_timeout(DEADLINE).unwrap();
    let threads: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let mailbox = mailbox.clone();
            thread::spawn(move || (0..MAILS).for_each(|n| mailbox.send((sender, n)).unwrap()))
        })
        .collect();
    let mut next = [0; SENDERS as usize];
    for _ in 0..SENDERS * MAILS {
        let (sender, number) = receiver.recv_timeout(DEADLINE).expect("all mail is read");
        assert_eq!(number, next[sender as usize]);
        next[sender as usize] += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_service_that_always_reports_more_mail_does_not_starve_others() {
    let (lend, lent) = channel();
    let (sender, receiver) = channel();
    let (other, strings) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        let reader = Reader { capacity: 1, lend, sender, mail: None, insatiable: true };
        reactor.add_service(reader).unwrap();
        let echo = reactor.add_service(Watched::echo().0).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
        reactor.add_service(other).unwrap();
    });
    let mailbox = lent.recv_timeout(DEADLINE).unwrap();
    mailbox.send((1, 1)).unwrap();
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok((1, 1)));
    let mut client = Client::open(server.address, "/");
    for _ in 0..10 {
        client.text("echo");
        client.expect(TEXT, b"echo");
        assert_eq!(strings.run(|_| "other mail"), "other mail");
    }
    assert!(strings.run(|cx| cx.schedule(std::time::Duration::ZERO, 1)).is_some());
    assert_eq!(strings.next(), Report::Timer(1));
    mailbox.send((2, 2)).unwrap();
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok((2, 2)));
}

#[test]
fn mail_after_a_panic_is_read() {
    let (mut puppet, strings) = Puppet::new();
    let (open, gate) = channel::<()>();
    puppet.on_message = Box::new(move |_, _, _| gate.recv_timeout(DEADLINE).unwrap());
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    client.text("hold the loop");
    assert_eq!(strings.next(), Report::Text(id, "hold the loop".to_owned()));
    // One wake-up for all three.
    let (sender, receiver) = channel();
    let second_sender = sender.clone();
    strings.post(|_| resume_unwind(Box::new("a malformed mail")));
    strings.post(move |_| sender.send(1).unwrap());
    strings.post(move |_| second_sender.send(2).unwrap());
    open.send(()).unwrap();
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok(1));
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok(2));
    assert_eq!(strings.run(|cx| cx.metrics().panics), 1);
}

/// Reports the result of `try_recv` at each call.
struct Looking {
    lend: Sender<MailSender<u32>>,
    sender: Sender<Result<u32, TryRecvError>>,
    mail: Option<MailReceiver<u32>>,
}

impl Service for Looking {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let (sender, receiver) = cx.mailbox(4);
        self.mail = Some(receiver);
        self.lend.send(sender).unwrap();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_mail(&mut self, _: &mut Context<'_>) -> More {
        self.sender.send(self.mail.as_ref().unwrap().try_recv()).unwrap();
        More::No
    }
}

#[test]
fn a_service_is_called_when_the_last_sender_is_gone() {
    let (lend, lent) = channel();
    let (sender, receiver) = channel();
    let _server = Server::start(Settings::default(), move |reactor| {
        reactor.add_service(Looking { lend, sender, mail: None }).unwrap();
    });
    let sender = lent.recv_timeout(DEADLINE).unwrap();
    let other = sender.clone();
    drop(sender);
    other.send(1).unwrap();
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok(Ok(1)), "one sender is left");
    drop(other);
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok(Err(TryRecvError::Disconnected)));
}

/// Divides its work: each message sets a count, and each call of `on_mail` counts down by one.
struct Countdown {
    left: u32,
    called: u32,
    sender: Sender<u32>,
}

impl Service for Countdown {
    fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        self.left += 3;
        cx.wake();
        cx.wake();
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        self.called += 1;
        self.left -= 1;
        match self.left {
            0 => self.sender.send(self.called).unwrap(),
            _ => cx.wake(),
        }
        More::No
    }
}

#[test]
fn a_service_that_wakes_itself_is_called_once_a_turn_without_an_event() {
    let (sender, receiver) = channel();
    let mut server = serving(Settings::default(), Countdown { left: 0, called: 0, sender });
    let mut client = Client::open(server.address, "/");
    client.text("count down from three");
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok(3));
    drop(client);
    server.shutdown();
    // No further call is pending: it would have underflowed.
    assert_eq!(server.join().panics, 0);
}

#[test]
fn a_turn_does_not_wait_while_a_service_is_awake() {
    let (sender, receiver) = channel();
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let service = reactor.add_service(Countdown { left: 3, called: 0, sender }).unwrap();
    reactor.start().unwrap();
    reactor.context(service).wake();
    for _ in 0..3 {
        assert_eq!(reactor.wait(), Duration::ZERO);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        reactor.turn(None).unwrap();
    }
    assert_eq!(receiver.try_recv(), Ok(3));
    assert!(reactor.wait() > Duration::ZERO);
}
